from hub_fixtures import start_hub

__all__ = ["start_hub"]
