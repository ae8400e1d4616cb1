"""Every setting, typed and checked, from the environment and the home's `.env` (prefix `PIPELINE_`)."""

from pipeline.settings.environment import PREFIX, environment, masked, source_urls
from pipeline.settings.model import Settings
from pipeline.settings.reading import settings

__all__ = ["PREFIX", "Settings", "environment", "masked", "settings", "source_urls"]
