"""What every Edge module shares: hub link, twin, methods, outbox, log and metrics."""
