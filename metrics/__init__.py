"""What is measured: functions first, and a ``torchmetrics.Metric`` beside each for use in training loops."""
