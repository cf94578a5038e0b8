def verify_program(p):
    return []
