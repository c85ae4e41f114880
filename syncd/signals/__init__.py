"""Evidence about what serves, from where it is measured: small figures, never decisions."""
