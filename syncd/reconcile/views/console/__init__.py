"""What the dashboard shows beyond the shapes of the API, each page read in a fixed number of statements."""
