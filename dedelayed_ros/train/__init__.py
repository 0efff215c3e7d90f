"""Training of the street models on the simulated street, in the order that was found necessary.

``footage`` renders clips once into a cache; ``pretrain`` trains the local model and, as a single-frame model, the
remote one; ``joint`` trains prediction, fusion and the local model together on features carried by the codec's own
motion; ``evaluate`` measures them over delays, and ``export`` writes an entry of the zoo.
"""
