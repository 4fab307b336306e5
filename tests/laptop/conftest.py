from drive_process import start_drive
from hub_fixtures import start_hub

__all__ = ["start_drive", "start_hub"]
