"""veilbench: an experiment tracker and benchmark harness for facial privacy protection."""

__version__ = "0.1.0"
