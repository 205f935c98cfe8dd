"""What a detector can see in a chunk, and what a scheming learner gains."""
