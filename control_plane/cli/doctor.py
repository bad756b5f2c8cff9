"""x"""
def doctor(): pass
