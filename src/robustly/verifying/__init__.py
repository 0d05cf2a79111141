"""Properties of networks in the standard formats: read, searched for a counterexample, proven, and told as sat or unsat."""
