"""`syncd doctor`: what a deployment gets wrong, each finding with its cure."""
