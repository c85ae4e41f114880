"""Trust: which versions may be released, who signed them, and the evidence that is left. It knows no registry."""
