"""A learner that defects when it believes to be deployed, against the length of a chunk."""
