"""Any model behind HTTP, to practise attacks on and to test clients with: see `robustly.serving.running.serve`."""
