"""An update on this machine: released, published, refused while driving, installed when parked.

release  what the cloud's side does: makes a bundle and a tree of files, signs, publishes
attacks  what an attacker does to the store
story    what is expected to happen, and whether it has
"""
