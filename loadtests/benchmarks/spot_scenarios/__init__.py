"""What befalls a deployment on spot machines, end to end on the EC2 stand-in."""
