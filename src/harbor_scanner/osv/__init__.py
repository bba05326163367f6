"""The Open Source Vulnerability database: kept locally, and matched against what an image holds."""
