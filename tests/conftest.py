"""The order of all tests, which several processes may share."""

import pytest

# Where files are handed to processes one by one, a long one at the end would keep all waiting.
LONGEST = ("test_stages.py", "test_resume.py", "test_engine.py", "test_live.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)
