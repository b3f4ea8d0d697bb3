* WEEKLY PAY WITH OVERTIME, TAX BY BRACKETS, AND A SORTED LIST          PAY00010
      PROGRAM PAYROL                                                    PAY00020
      INTEGER NEMP                                                      PAY00030
      PARAMETER (NEMP = 5)                                              PAY00040
      CHARACTER*12 NAME(NEMP)                                           PAY00050
      REAL HOURS(NEMP), RATE(NEMP), NET(NEMP), TOTAL                    PAY00060
      REAL GROSS, TAX                                                   PAY00070
      INTEGER I, NHIGH                                                  PAY00080
      LOGICAL ODD                                                       PAY00090
      DATA NAME /'ADAMS', 'BAKER', 'CLARK', 'DAVIS', 'EVANS'/           PAY00100
      DATA HOURS /40.0, 45.5, 38.0, 60.0, 0.0/                          PAY00110
      DATA RATE /10.0, 12.5, 20.0, 9.75, 30.0/                          PAY00120
      TOTAL = 0.0                                                       PAY00130
      NHIGH = 0                                                         PAY00140
      DO 100 I = 1, NEMP                                                PAY00150
        CALL PAY(HOURS(I), RATE(I), GROSS)                              PAY00160
        NET(I) = GROSS - TAX(GROSS)                                     PAY00170
        TOTAL = TOTAL + NET(I)                                          PAY00180
        IF (GROSS .GE. 500.0 .AND. HOURS(I) .GT. 40.0) NHIGH = NHIGH+1  PAY00190
  100 CONTINUE                                                          PAY00200
      CALL ORDER(NAME, NET, NEMP)                                       PAY00210
      DO 200 I = 1, NEMP                                                PAY00220
        WRITE(*, '(1X, A12, F9.2)') NAME(I), NET(I)                     PAY00230
  200 CONTINUE                                                          PAY00240
      ODD = MOD(NHIGH, 2) .EQ. 1                                        PAY00250
      IF (ODD) PRINT *, 'ODD NUMBER OF HIGH EARNERS'                    PAY00260
      WRITE(*, '(1X, A, F10.2, I4)') 'TOTAL       ', TOTAL, NHIGH       PAY00270
      END                                                               PAY00280
      SUBROUTINE PAY(H, R, G)                                           PAY00290
      REAL H, R, G, OVER                                                PAY00300
      OVER = MAX(H - 40.0, 0.0)                                         PAY00310
      G = (H - OVER) * R + OVER * R * 1.5                               PAY00320
      END                                                               PAY00330
      REAL FUNCTION TAX(G)                                              PAY00340
      REAL G                                                            PAY00350
      IF (G .LE. 100.0) THEN                                            PAY00360
        TAX = 0.0                                                       PAY00370
      ELSE IF (G .LE. 400.0) THEN                                       PAY00380
        TAX = (G - 100.0) * 0.15                                        PAY00390
      ELSE                                                              PAY00400
        TAX = 45.0                                                      PAY00410
     1      + (G - 400.0)                                               PAY00420
     2      * 0.25                                                      PAY00430
      ENDIF                                                             PAY00440
      END                                                               PAY00450
      SUBROUTINE ORDER(NAME, NET, N)                                    PAY00460
      INTEGER N, I, J                                                   PAY00470
      CHARACTER*12 NAME(N), CHELD                                       PAY00480
      REAL NET(N), RHELD                                                PAY00490
      I = 1                                                             PAY00500
   10 IF (I .GE. N) GO TO 40                                            PAY00510
      J = N                                                             PAY00520
   20 IF (J .LE. I) GO TO 30                                            PAY00530
      IF (NET(J) .GT. NET(J-1)) THEN                                    PAY00540
        RHELD = NET(J)                                                  PAY00550
        NET(J) = NET(J-1)                                               PAY00560
        NET(J-1) = RHELD                                                PAY00570
        CHELD = NAME(J)                                                 PAY00580
        NAME(J) = NAME(J-1)                                             PAY00590
        NAME(J-1) = CHELD                                               PAY00600
      ENDIF                                                             PAY00610
      J = J - 1                                                         PAY00620
      GO TO 20                                                          PAY00630
   30 I = I + 1                                                         PAY00640
      GO TO 10                                                          PAY00650
   40 RETURN                                                            PAY00660
      END                                                               PAY00670
