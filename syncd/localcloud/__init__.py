"""OSS and Function Compute over HTTP on loopback: what the demo and the tests run against.

It imports nothing of the other rooms but `artifact`, so that it is able to say no.
"""
