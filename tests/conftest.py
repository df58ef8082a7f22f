"""Settings that every test shares."""

import os

from hypothesis import HealthCheck, settings

# Shared machines stall now and then: a deadline would fail for the neighbors' sake.
settings.register_profile("h2q", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("h2q")

# Models come out of wheels; nothing may look for them elsewhere.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
