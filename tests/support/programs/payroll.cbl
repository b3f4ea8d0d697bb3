000100 IDENTIFICATION DIVISION.                                         PAY00001
000200 PROGRAM-ID. PAYROLL.                                             PAY00002
000300 ENVIRONMENT DIVISION.                                            PAY00003
000400 DATA DIVISION.                                                   PAY00004
000500 WORKING-STORAGE SECTION.                                         PAY00005
000600 01  EMPLOYEE-TABLE.                                              PAY00006
000700     05  EMPLOYEE OCCURS 4 TIMES.                                 PAY00007
000800         10  EMP-NAME          PIC X(10).                         PAY00008
000900         10  EMP-HOURS         PIC 9(3)V9.                        PAY00009
001000         10  EMP-RATE          PIC 9(3)V99.                       PAY00010
001100         10  EMP-GROSS         PIC 9(5)V99.                       PAY00011
001200         10  EMP-TAX           PIC 9(5)V99.                       PAY00012
001300 77  WS-SUB                    PIC 9(2) COMP.                     PAY00013
001400 77  WS-OVERTIME               PIC 9(3)V9.                        PAY00014
001500 77  WS-TOTAL-GROSS            PIC 9(7)V99 VALUE ZERO.            PAY00015
001600 77  WS-HIGH-COUNT             PIC 9(2) VALUE ZERO.               PAY00016
001700 77  WS-EDIT                   PIC ZZ,ZZ9.99.                     PAY00017
001800 77  WS-DONE                   PIC X VALUE 'N'.                   PAY00018
001900 PROCEDURE DIVISION.                                              PAY00019
002000 0000-MAIN.                                                       PAY00020
002100     PERFORM 1000-LOAD THRU 1000-EXIT.                            PAY00021
002200     MOVE 1 TO WS-SUB.                                            PAY00022
002300     PERFORM 2000-PAY                                             PAY00023
002400         UNTIL WS-SUB > 4.                                        PAY00024
002500     PERFORM 3000-REPORT VARYING WS-SUB FROM 1 BY 1               PAY00025
002600         UNTIL WS-SUB GREATER THAN 4 OR WS-DONE = 'Y'.            PAY00026
002700     MOVE WS-TOTAL-GROSS TO WS-EDIT.                              PAY00027
002800     DISPLAY 'TOTAL GROSS ' WS-EDIT.                              PAY00028
002900     IF WS-HIGH-COUNT = ZERO                                      PAY00029
003000         DISPLAY 'NOBODY EARNS MUCH'                              PAY00030
003100     ELSE                                                         PAY00031
003200         DISPLAY WS-HIGH-COUNT ' EARN MUCH'.                      PAY00032
003300     STOP RUN.                                                    PAY00033
003400 1000-LOAD.                                                       PAY00034
003500     MOVE 'SMITH' TO EMP-NAME (1).                                PAY00035
003600     MOVE 40 TO EMP-HOURS (1).                                    PAY00036
003700     MOVE 15.50 TO EMP-RATE (1).                                  PAY00037
003800     MOVE 'JONES' TO EMP-NAME (2).                                PAY00038
003900     MOVE 52.5 TO EMP-HOURS (2).                                  PAY00039
004000     MOVE 11.25 TO EMP-RATE (2).                                  PAY00040
004100     MOVE 'WILLIAMS' TO EMP-NAME (3).                             PAY00041
004200     MOVE 0 TO EMP-HOURS (3).                                     PAY00042
004300     MOVE 99.99 TO EMP-RATE (3).                                  PAY00043
004400     MOVE 'BROWN' TO EMP-NAME (4).                                PAY00044
004500     MOVE 37.5 TO EMP-HOURS (4).                                  PAY00045
004600     MOVE 30 TO EMP-RATE (4).                                     PAY00046
004700 1000-EXIT.                                                       PAY00047
004800     EXIT.                                                        PAY00048
004900 2000-PAY.                                                        PAY00049
005000     IF EMP-HOURS (WS-SUB) > 40                                   PAY00050
005100         SUBTRACT 40 FROM EMP-HOURS (WS-SUB) GIVING WS-OVERTIME   PAY00051
005200         COMPUTE EMP-GROSS (WS-SUB) ROUNDED =                     PAY00052
005300             40 * EMP-RATE (WS-SUB)                               PAY00053
005400             + WS-OVERTIME * EMP-RATE (WS-SUB) * 1.5              PAY00054
005500     ELSE                                                         PAY00055
005600         MULTIPLY EMP-HOURS (WS-SUB) BY EMP-RATE (WS-SUB)         PAY00056
005700             GIVING EMP-GROSS (WS-SUB) ROUNDED.                   PAY00057
005800     IF EMP-GROSS (WS-SUB) NOT LESS THAN 600                      PAY00058
005900         MULTIPLY EMP-GROSS (WS-SUB) BY 0.25                      PAY00059
006000             GIVING EMP-TAX (WS-SUB)                              PAY00060
006100         ADD 1 TO WS-HIGH-COUNT                                   PAY00061
006200     ELSE IF EMP-GROSS (WS-SUB) > 100 AND                         PAY00062
006300             EMP-GROSS (WS-SUB) < 600                             PAY00063
006400         COMPUTE EMP-TAX (WS-SUB) =                               PAY00064
006500             (EMP-GROSS (WS-SUB) - 100) * 0.15                    PAY00065
006600     ELSE                                                         PAY00066
006700         MOVE ZERO TO EMP-TAX (WS-SUB).                           PAY00067
006800     ADD EMP-GROSS (WS-SUB) TO WS-TOTAL-GROSS.                    PAY00068
006900     ADD 1 TO WS-SUB.                                             PAY00069
007000 3000-REPORT.                                                     PAY00070
007100     COMPUTE WS-EDIT = EMP-GROSS (WS-SUB) - EMP-TAX (WS-SUB).     PAY00071
007200     DISPLAY EMP-NAME (WS-SUB) ' ' WS-EDIT.                       PAY00072
007300     IF EMP-NAME (WS-SUB) EQUAL TO SPACES                         PAY00073
007400         MOVE 'Y' TO WS-DONE.                                     PAY00074
