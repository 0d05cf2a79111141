"""Linear bounds of networks: a program of affine and nonlinear nodes, and lines that enclose it, backward and forward."""
