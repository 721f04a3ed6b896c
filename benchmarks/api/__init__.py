"""The functions of ``import veilbench``: what the command line does, on tensors and without a suite."""
