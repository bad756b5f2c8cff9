"""`tamer bench`: a deployment measured from its client's side."""
