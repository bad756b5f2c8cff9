"""x"""


def doctor():
    pass
