/* From the PVH entry (32-bit protected mode, no paging, the start info in ebx) to 64-bit C. */

        .section .note.pvh, "a", @note
        .balign 4
        .long   4, 8, 18                /* name, descriptor, XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz  "Xen"
        .quad   start

        .section .text.start, "ax"
        .code32
        .globl  start
start:
        cld
        /* The first 4 GiB, where all memory and all devices of the machine are, as they are. */
        movl    $directories, %edi
        movl    $0x83, %eax             /* present, writable, 2 MiB */
        movl    $2048, %ecx
1:      movl    %eax, (%edi)
        addl    $0x200000, %eax
        addl    $8, %edi
        loop    1b
        movl    $pointers, %edi
        movl    $directories + 3, %eax
        movl    $4, %ecx
2:      movl    %eax, (%edi)
        addl    $0x1000, %eax
        addl    $8, %edi
        loop    2b
        movl    $pointers + 3, top

        movl    $top, %eax
        movl    %eax, %cr3
        movl    %cr4, %eax
        orl     $0x20, %eax             /* PAE */
        movl    %eax, %cr4
        movl    $0xc0000080, %ecx       /* EFER */
        rdmsr
        orl     $0x100, %eax            /* long mode */
        wrmsr
        movl    %cr0, %eax
        orl     $0x80000001, %eax       /* paging */
        movl    %eax, %cr0
        lgdt    table
        ljmp    $8, $long_mode

        .code64
long_mode:
        movl    $16, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    $stack, %esp
        xorl    %ebp, %ebp
        movl    %ebx, %edi
        call    metal_main
        /* Without handlers a breakpoint is a triple fault, which ends the machine. */
        lidt    nothing
        int3

        .section .rodata
        .balign 8
segments:
        .quad   0
        .quad   0x00af9b000000ffff      /* 64-bit code */
        .quad   0x00cf93000000ffff      /* data */
table:  .word   23
        .long   segments
nothing:
        .word   0
        .quad   0

        .bss
        .balign 4096
top:    .skip   4096
pointers:
        .skip   4096
directories:
        .skip   4 * 4096
        .skip   32768
stack:

        .section .note.GNU-stack, "", @progbits
