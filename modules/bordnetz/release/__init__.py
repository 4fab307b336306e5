"""The release tool: makes and signs what the car verifies."""
