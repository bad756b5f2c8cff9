"""`tamer up`: the whole platform on one machine, as child processes of one supervisor."""
