// What runs inside: it counts in RAM, and writes each number to a sector of its own. Before the
// next one it reads back the sector of the number before, so it would notice by itself if RAM and
// disk ever told two different stories.
//
// The command for the disk stands in RAM; writing to the disk's port carries it out, and the next
// instruction runs when it is done. The numbers here are those of guest.h.

#define COMMAND_OPERATION 0x500
#define COMMAND_STATUS 0x501
#define COMMAND_BUFFER 0x502
#define COMMAND_SECTOR 0x504
#define COUNTER 0x600
#define BUFFER 0x800
#define PORT_DISK 0x10
#define PORT_BROKEN 0x11

        .section .rodata
        .globl  guest_program, guest_program_end
        .code16
guest_program:
        movw    $BUFFER, COMMAND_BUFFER
count:  incl    COUNTER

        movl    COUNTER, %eax           // The number goes to its sector.
        movl    %eax, BUFFER
        movb    $1, %bl
        call    disk

        movl    COUNTER, %eax           // The one before has to be there still.
        decl    %eax
        jz      count
        movb    $0, %bl
        call    disk
        cmpl    %eax, BUFFER
        jne     broken

        testb   $63, COUNTER            // Once in a while, everything becomes durable.
        jnz     count
        movb    $2, %bl
        call    disk
        jmp     count

// Operation %bl on the sector of number %eax: of 64 places, each in a cluster of its own.
disk:   movl    %eax, %ecx
        andl    $63, %ecx
        shll    $7, %ecx
        movl    %ecx, COMMAND_SECTOR
        movb    %bl, COMMAND_OPERATION
        outb    %al, $PORT_DISK
        testb   $0xff, COMMAND_STATUS
        jnz     broken
        ret

broken: outb    %al, $PORT_BROKEN
        hlt
guest_program_end:
        .section .note.GNU-stack, "", @progbits
