"""The telemetry module: CAN frames in, acknowledged batches out."""
