from hub_fixtures import start_hub
from link_help import ears, hub, manifest
from ordinary_user import user

__all__ = ["ears", "hub", "manifest", "start_hub", "user"]
