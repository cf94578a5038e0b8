"""Who checks the verifier: an oracle that shares no code with it, and an adversarial corpus.

oracle      what a program does, from the operational semantics: the ground truth
wellformed  what is no program at all
ringmachine every execution of a weight ring
explore     every interleaving of a very small program, one state at a time: what checks the oracle
generator   programs: real lowerings, and random ones
mutants     ways to break a program, or to change it and leave it safe
named       cases with a history: failures of other systems, and disagreements found here
fuzz        the verifier against the oracle over the whole corpus
"""
