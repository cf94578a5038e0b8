def verify_sched(p):
    return []
