"""Who protects the pending cells: this process, or several."""
