# The boot sector of a disk that says at the console whether all of it is there. `LAST` is the number of its last sector, which
# begins with `MARK`. With `OLD`, it is the disk's system before the installation, and says that.
.code16
.globl _start
_start:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
.ifdef OLD
    movw $old, %si
.else
    movw $packet, %si
    movb $0x42, %ah                 # the firmware's extended read, of the drive in %dl
    int $0x13
    movw $half, %si
    jc print
    cmpl $MARK, 0x8000
    jne print
    movw $whole, %si
.endif
print:
    lodsb
    testb %al, %al
    jz end
    movb $0x0e, %ah
    movw $7, %bx
    int $0x10
    jmp print
end:
    hlt
    jmp end

old:   .asciz "disk of the lab: old\r\n"
half:  .asciz "disk of the lab: half\r\n"
whole: .asciz "disk of the lab: whole\r\n"
packet:
    .byte 16, 0
    .word 1, 0x8000, 0
    .quad LAST

    .org 446
    .byte 0x80, 0, 0, 0, 0x83, 0, 0, 0
    .long 2048, LAST - 2047
    .org 510
    .word 0xaa55
