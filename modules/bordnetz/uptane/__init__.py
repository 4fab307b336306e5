"""What the car and the release tool agree on: signed metadata, keys, manifests, by Uptane 2.1.

Pure: nothing here touches a disk, a network or a clock.

errors      what is refused, by kind of attack or defect
custom      what bordnetz adds to the metadata, and the names of files
keys        signing keys: files and PKCS#11
time        the signed time
floor       what a vehicle must never fall below
steps       how a verification asks for files
parse       metadata, bounded before it is read
repository  one repository's metadata, by the workflow of the TUF specification
director    what is special about the director's
trust       both repositories together: the full verification of the Uptane Standard
target      what verified metadata asks for
manifest    what the car says is installed
"""
