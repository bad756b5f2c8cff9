"""What a benchmark compares: each in a process and an environment of its own, stopped while another
is measured."""
