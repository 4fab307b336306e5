"""What happens to disks and processes, done on purpose: ``make faults``.

system     mounts, loop devices and namespaces, which the standard library does not have
fuse       a disk of one file that keeps a record of what is done to it
scenario   the work that is cut, what must be there after it, and children to run it in
record     the work on ext4 on that disk
states     the disks that a power cut may leave behind, of such a record
replay     each of them mounted, recovered from, looked at
calls      the work under strace: killed at a call, or the call fails
clocks     the system clock jumps by years
resources  a disk too small, not writable, broken; no more descriptors
rows       what is run, cheapest first

The work: controls, outbox, metadata (looking for updates), campaign (in a car).
"""
