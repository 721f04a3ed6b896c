"""Questions of our own about methods; no part of a comparison."""
