"""Scanner backends, one module or package each. `base` is the contract."""
