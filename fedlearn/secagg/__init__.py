"""Secure aggregation: the server learns the sum of the clients' vectors, and nothing else.

Protocol ``fedlearn-secagg/1``: pairwise and self masks (Bonawitz et al. 2017) over a complete or a
Harary graph (Bell et al. 2020), with one signed view of the survivors that a quorum must share before
any mask is lifted. Client and server are state machines over bytes: whoever moves the bytes, in one
process or between machines, gets the same sum.

A whole session of five clients, one of which vanishes after it has trained:

>>> import numpy as np
>>> from fedlearn.crypto.identity import SigningKey
>>> from fedlearn.secagg.client import ClientSession, MemoryLatches
>>> from fedlearn.secagg.fixed_point import FixedPoint
>>> from fedlearn.secagg.parameters import parameters
>>> from fedlearn.secagg.roster import Roster
>>> from fedlearn.secagg.server import ServerSession

>>> keys = {f"hospital-{i}": SigningKey.generate() for i in range(1, 6)}
>>> common = dict(
...     roster=Roster(version=1, members={name: key.public for name, key in keys.items()}),
...     parameters=parameters(5, colluders=1),
...     run="demo",
...     round=0,
... )
>>> encoding = FixedPoint.for_exact_sum(clients=5, value_range=1.0, modulus_bits=32)
>>> digests = dict(model_digest=bytes(32), configuration_digest=bytes(32))
>>> server = ServerSession(clients=list(keys), dimension=3, modulus_bits=32, **common, **digests)
>>> clients = {
...     name: ClientSession(client=name, key=key, latches=MemoryLatches(), **common)
...     for name, key in keys.items()
... }
>>> while not server.finished:
...     for name, request in server.requests().items():
...         if server.step == "inputs":
...             if name == "hospital-2":
...                 continue
...             clients[name].accept_inputs_request(request, **digests)
...             vector = encoding.encode(np.array([0.5, -0.25, 0.125], np.float32))
...             server.receive(name, clients[name].mask(vector), vector)
...         else:
...             server.receive(name, clients[name].receive(request))
...     step = server.advance()
>>> encoding.decode(server.total).tolist()
[2.0, -1.0, 0.5]
>>> server.survivors
('hospital-1', 'hospital-3', 'hospital-4', 'hospital-5')
>>> dict(server.excluded)
{'hospital-2': 'inputs: no answer'}
"""
