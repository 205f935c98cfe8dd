"""AggreVaTe, LOLS and SEARN with good and corrupted experts; roll-in by roll-out."""
