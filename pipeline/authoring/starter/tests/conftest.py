"""What this home's tests can ask for: `render`, and one test for each schedule."""

pytest_plugins = ["pipeline.testing"]
