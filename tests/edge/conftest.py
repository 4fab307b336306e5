from hub_fixtures import start_hub
from ordinary_user import user

__all__ = ["start_hub", "user"]
