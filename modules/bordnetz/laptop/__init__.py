"""The laptop side: stand-in Edge hub, simulated vehicle, manifest tools and `drive`."""
