"""What was spent, and for whom."""
