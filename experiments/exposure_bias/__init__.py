"""Text: accumulated error against length, fine-tuning against chunks, schedules and controllers."""
