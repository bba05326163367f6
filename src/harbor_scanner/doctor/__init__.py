"""`harbor-scanner doctor`: what Harbor's TEST CONNECTION does not see. One module for each area of checks."""
