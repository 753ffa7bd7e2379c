"""Long campaigns that are no part of the tests: python -m tests.stress.kill."""
